"""GTP's framing of a reply to one command. Pure."""

from __future__ import annotations

from agent.service.outputs import Send


class Reply:
    """Replies carry the id of their command, if it had one; an empty line ends them."""

    def __init__(self, command_id: int | None = None) -> None:
        self._id = "" if command_id is None else str(command_id)

    def ok(self, text: str) -> Send:
        return Send(f"={self._id} {text}\n\n".encode())

    def fail(self, text: str) -> Send:
        # A line break in the text would end the reply early.
        return Send(f"?{self._id} {' '.join(filter(None, text.splitlines()))}\n\n".encode())

    def header(self) -> Send:
        """The beginning of a reply that comes line by line."""
        return Send(f"={self._id}\n".encode())

    @staticmethod
    def after_header(text: str) -> Send:
        """The last line of a reply that began with `header`, and its end."""
        return Send(f"{text}\n\n".encode())

    @staticmethod
    def end() -> Send:
        """The end of a reply that began with `header`."""
        return Send(b"\n")
