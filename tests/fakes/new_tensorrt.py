"""What JetPack 6.1 has under the name `tensorrt`, as far as its version goes."""

__version__ = "10.3.0"
