"""What the daemon's children say when they fail: the error and its fix, and nothing of the libraries below."""

from __future__ import annotations

import socket
import subprocess

from agent.settings import own_command


def test_a_broker_whose_port_is_taken_says_so_in_two_lines() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*own_command(), "broker", "--port", str(port)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    error, fix = done.stderr.splitlines()
    assert error.startswith(f"agent: the broker cannot listen on 127.0.0.1:{port}")
    assert fix.startswith("fix: ") and "mqtt.port" in fix
