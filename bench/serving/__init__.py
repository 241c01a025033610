"""The parts of bench.serve: servers, their load, and the check of their answers."""
