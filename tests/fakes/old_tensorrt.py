"""What JetPack 5 has under the name `tensorrt`, as far as its version goes."""

__version__ = "8.6.2"
