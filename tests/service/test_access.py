"""The files behind `access`: what is taken, and that everything else names its fix."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.service.access import MAX_TOKEN_LENGTH, NO_GUARD, Guard, read_guard, shows_token
from agent.service.streams import TcpStream
from agent.settings import Access, ServerTls

CERTIFICATE = Path(__file__).parents[1] / "fakes" / "loopback.pem"
SECRET = "0123456789abcdef"


def token_file(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_without_access_everybody_is_welcome() -> None:
    assert read_guard(Access()) == NO_GUARD
    assert NO_GUARD.accepts(b"")


def test_the_token_is_the_file_without_its_newline(tmp_path: Path) -> None:
    guard = read_guard(Access(token_file=token_file(tmp_path, f"{SECRET}\n")))
    assert guard.accepts(SECRET.encode())
    for wrong in (b"", SECRET.encode() + b"\n", SECRET[:-1].encode(), b"\xff" * 16):
        assert not guard.accepts(wrong)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", 0o600),
        ("short", 0o600),
        ("two words of a token", 0o600),
        ("x" * (MAX_TOKEN_LENGTH + 1), 0o600),
        (b"\xff" * 32, 0o600),
        (SECRET, 0o644),
    ],
    ids=["empty", "short", "words", "long", "binary", "readable for everybody"],
)
def test_a_bad_token_file_is_named_with_its_fix(tmp_path: Path, text: str | bytes, mode: int) -> None:
    path = token_file(tmp_path, text, mode)
    with pytest.raises(ConfigError) as caught:
        read_guard(Access(token_file=path))
    assert str(path) in str(caught.value)
    assert "chmod 600" in caught.value.fix


def test_an_absent_token_file_is_named_with_its_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent") as caught:
        read_guard(Access(token_file=tmp_path / "absent"))
    assert "openssl rand" in caught.value.fix


def test_certificates_of_clients_are_demanded_where_their_authority_is_named() -> None:
    plain = read_guard(Access(tls=ServerTls(cert=CERTIFICATE, key=CERTIFICATE)))
    both = read_guard(Access(tls=ServerTls(cert=CERTIFICATE, key=CERTIFICATE, client_ca=CERTIFICATE)))
    assert plain.tls is not None and plain.tls.verify_mode == ssl.CERT_NONE
    assert both.tls is not None and both.tls.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("part", ["cert", "key", "client_ca"])
def test_unusable_certificates_are_configuration_errors(tmp_path: Path, part: str) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    for bad in (tmp_path / "text.pem", tmp_path / "absent.pem"):
        files = {"cert": CERTIFICATE, "key": CERTIFICATE, "client_ca": CERTIFICATE, part: bad}
        with pytest.raises(ConfigError) as caught:
            read_guard(Access(tls=ServerTls(**files)))
        assert "PEM" in caught.value.fix


class Dripping(TcpStream):
    """A client that sends a byte twice in the time that it has for the whole line."""

    def __init__(self, patience_s: float) -> None:
        self.reads = 0
        self._between_s = patience_s / 2

    async def read(self) -> bytes:
        self.reads += 1
        await asyncio.sleep(self._between_s)
        return b"t"


def test_the_whole_token_is_waited_for_not_each_byte_of_it() -> None:
    client = Dripping(0.1)
    assert not asyncio.run(shows_token(client, Guard(token=SECRET.encode()), 0.1))
    assert client.reads <= 3
