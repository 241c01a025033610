"""The health check of a service. Containers run `python -m signet.rpc.health http://host:port/healthz`."""

import http
import http.client
import sys
import urllib.error
import urllib.request


def is_serving(address: str, timeout: float) -> bool:
    """Whether the server at an address answers SERVING within `timeout` seconds.

    `address` is host:port of a gRPC server without TLS, or the URL of the page /healthz. This page is on the port of
    metrics. It has no TLS and needs no token.
    """
    return _is_page_good(address, timeout) if address.startswith("http://") else _ask_over_grpc(address, timeout)


def _ask_over_grpc(address: str, timeout: float) -> bool:
    # The page needs no gRPC, and a container asks every ten seconds.
    import grpc  # noqa: PLC0415
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel(address) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _is_page_good(url: str, timeout: float) -> bool:
    try:
        # No proxy: the page is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=timeout) as answer:
            return bool(answer.status == http.HTTPStatus.OK)
    except (OSError, http.client.HTTPException, urllib.error.URLError):
        return False


if __name__ == "__main__":
    raise SystemExit(0 if is_serving(sys.argv[1], timeout=3.0) else 1)
