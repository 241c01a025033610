"""A local Ray cluster of two nodes with one core each, in a process of its own.

It prints its address. A line on its standard input kills the second node as a power failure would; the end of the input
ends the cluster.
"""

import sys

from ray.cluster_utils import Cluster

_STORE_BYTES = 80 << 20


def main(folder: str) -> None:
    """Run the cluster; `folder` has a short path, because sockets are in it."""
    node = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False, "temp_dir": folder})
    second = cluster.add_node(**node)
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
