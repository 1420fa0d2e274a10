"""The configuration file that `agent install` leaves: every key, its default, and what it is for, all commented out."""

from __future__ import annotations

from typing import Final

TEMPLATE: Final = """\
# Configuration of katago-agent. Every key is optional; what stands here commented out is the default.
# After a change: sudo systemctl restart katago-agent. Check it with: sudo katago-agent doctor

# Name of this device in MQTT topics and in `agent fleet watch`; default: host name and digits.
# device_id: den-pi

# Where networks and state are kept.
# state_dir: /var/lib/katago-agent

# A network of the catalogue (such as b15c192) or the path of a .bin.gz; default: what the profile takes.
# network: b15c192

# Visits per move and search threads; default: the profile's.
# visits: 50
# threads: 2

# Where GTP and the JSON analysis engine answer, over TCP and (for KaTrain's remote engine) WebSocket; null closes one.
# An address beyond loopback is refused unless clients must show a token or a certificate. Unix sockets lie in
# /run/katago-agent, else in state_dir.
# gtp_address: 127.0.0.1:4640
# analysis_address: 127.0.0.1:4641
# websocket_address: 127.0.0.1:4643
# gtp_socket: /run/katago-agent/gtp.sock
# analysis_socket: /run/katago-agent/analysis.sock
# access:
#   token_file: /etc/katago-agent/token
#   tls:
#     cert: /etc/katago-agent/server.pem
#     key: /etc/katago-agent/server.key
#     client_ca: /etc/katago-agent/clients.pem

# Seconds between two reports of measurements.
# report_interval_s: 10

# The MQTT broker; without a host, the agent runs one of its own on loopback, port 4642.
# mqtt:
#   host: broker.example.org
#   port: 8883
#   username: den-pi
#   password_file: /etc/katago-agent/mqtt-password
#   tls:
#     ca: /etc/katago-agent/ca.pem
#     cert: /etc/katago-agent/device.pem
#     key: /etc/katago-agent/device.key
#     insecure: false

# A `katago` of your own, which serves then (docs/native.md), and whether the built-in engine serves when it fails. Or
# the network runtime in the place of the profile's ("native" is a katago, too: the one at path or on PATH).
# engine:
#   path: /usr/local/bin/katago
#   fallback: true
#   backend: onnxruntime
"""
