"""The configuration file that `agent install` leaves: every key with its default or an example, and what it is for, all
commented out. With all of it uncommented it is a configuration that works."""

from __future__ import annotations

from typing import Final

TEMPLATE: Final = """\
# Configuration of katago-agent. Every key is optional. What stands here commented out is the default, or an example
# where the words above it name another default.
# After a change: sudo systemctl restart katago-agent. Check it with: sudo katago-agent doctor

# Name of this device in MQTT topics and in `agent fleet watch`; default: host name and digits.
# device_id: den-pi

# Where networks and state are kept.
# state_dir: /var/lib/katago-agent

# A network of the catalogue (such as b15c192) or the path of a .bin.gz; default: what the profile takes.
# network: b15c192

# Whom a human-style network imitates; default: nobody, and others have no use for it.
# human_profile: rank_5k

# Visits per move, search threads, and evaluations kept for later searches; default: the profile's.
# visits: 50
# threads: 2
# cache_positions: 50000

# Where GTP and the JSON analysis engine answer, over TCP and (for KaTrain's remote engine) WebSocket; null closes one.
# An address beyond loopback is refused unless clients must show a token or a certificate. Unix sockets lie in
# /run/katago-agent, else in state_dir. `access` is what clients must show; default: nothing.
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

# The MQTT broker; without a host, the agent runs one of its own on loopback, port 4642. `tls: {}` is TLS with the
# system's authorities; without it there is none.
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

# A `katago` of your own, which serves then (docs/native.md; with a GPU: sudo katago-agent install), and whether the
# built-in engine serves when it fails; default: none. In the place of `path`, `backend: native` takes the katago on
# PATH, and `backend: onnxruntime` or another runtime replaces the profile's.
# engine:
#   path: /usr/local/bin/katago
#   fallback: true
"""
