"""What Signet's three services agree on, and the client: tensors, store, contract, decoding.

Imports no MediaPipe and no torch, so that any Python program can use it.
"""

__version__ = "0.1.0"
