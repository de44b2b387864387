"""The control socket: state out, commands in. One thread, no decision.

A client that does not read is dropped; it can never make the deciding thread wait.
"""

import contextlib
import logging
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from kiosk.errors import UsageError
from kiosk.messages import Command, Error, LineReader, Ok, State, encode
from kiosk.payment.mailbox import CommandCame, Post, ThreadDied

log = logging.getLogger(__name__)

MOST_CLIENTS = 32
UNREAD_BYTES = 256 * 1024
RECEIVE_BYTES = 65_536
MOST_UNANSWERED = 256
"""Of all clients together. A program gone mad must not fill the mailbox of the thread that
decides: an outcome would wait behind it."""

_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


class Client:
    """One connection; touched by the control thread only."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.lines = LineReader()
        self.unread = bytearray()
        self.is_leaving = False
        self.events = 0  # for which the selector watches it


class Control:
    """Threads: `publish`, `reply` and `stop` from the main thread; it posts to the mailbox."""

    def __init__(self, path: Path, post: Callable[[Post], None]) -> None:
        """Bind the socket.

        Raises:
            UsageError: It cannot be made there.
        """
        self._path = path
        self._post = post
        self._state = b""
        self._outbox: deque[tuple[int | None, bytes]] = deque()
        self._clients: dict[int, Client] = {}
        self._requests: dict[int, Client] = {}
        self._last_request = 0
        self._unanswered: set[int] = set()  # also of clients that left since
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._listener = listen(path)
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def publish(self, state: State) -> None:
        """Send the state to everybody who listens, and to whoever comes."""
        self._send(None, encode(state))

    def reply(self, request: int, error: str | None) -> None:
        """Answer a command."""
        self._send(request, encode(Ok() if error is None else Error(message=error)))

    def stop(self) -> None:
        """Close everything; answers already given still go out where the client reads."""
        self._stopping = True
        self._wake()
        self._thread.join(timeout=2)
        if not self._thread.is_alive():
            os.close(self._wake_r)
            os.close(self._wake_w)
            self._selector.close()

    def _send(self, request: int | None, line: bytes) -> None:
        self._outbox.append((request, line))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"!")

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key, mask in self._selector.select():
                    self._serve(key.fileobj, mask)
                self._empty_outbox()
        except BaseException as error:  # noqa: BLE001 - nothing dies quietly
            self._post(ThreadDied(self._thread.name, error))
        finally:
            # What was said between the last look and the stop still goes out.
            self._empty_outbox()
            for client in list(self._clients.values()):
                self._drop(client)
            self._listener.close()
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _serve(self, fileobj: object, mask: int) -> None:
        if fileobj is self._listener:
            self._accept()
        elif fileobj == self._wake_r:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_r, 4096)
        elif isinstance(fileobj, socket.socket) and (client := self._clients.get(fileobj.fileno())):
            if mask & selectors.EVENT_WRITE:
                self._flush(client)
            if mask & selectors.EVENT_READ:
                self._receive(client)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= MOST_CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        client = Client(sock)
        self._clients[sock.fileno()] = client
        self._watch(client)
        if self._state:
            self._write(client, self._state)

    def _receive(self, client: Client) -> None:
        try:
            data = client.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._let_leave(client)
            return
        try:
            for line in client.lines.feed(data):
                if line.strip():
                    self._hear(client, line)
        except ValueError as error:
            self._write(client, encode(Error(message=str(error))))
            self._drop(client)

    def _let_leave(self, client: Client) -> None:
        """It says no more; what it asked is still answered (`echo ... | socat`)."""
        client.is_leaving = True
        self._watch(client)

    def _hear(self, client: Client, line: bytes) -> None:
        try:
            command = _decoder.decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            self._write(client, encode(Error(message=f"not understood: {error}"[:300])))
            return
        if len(self._unanswered) >= MOST_UNANSWERED:
            self._write(client, encode(Error(message="too many commands at once; wait")))
            return
        self._last_request += 1
        self._unanswered.add(self._last_request)
        self._requests[self._last_request] = client
        self._post(CommandCame(self._last_request, command))

    def _empty_outbox(self) -> None:
        while self._outbox:
            request, line = self._outbox.popleft()
            if request is None:
                self._state = line
                for client in list(self._clients.values()):
                    if not client.is_leaving:
                        self._write(client, line)
                continue
            self._unanswered.discard(request)
            if (asker := self._requests.pop(request, None)) is not None:
                self._write(asker, line)

    def _write(self, client: Client, line: bytes) -> None:
        client.unread += line
        self._flush(client)

    def _flush(self, client: Client) -> None:
        if client.sock.fileno() < 0:
            return
        try:
            sent = client.sock.send(client.unread)
            del client.unread[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if len(client.unread) > UNREAD_BYTES:
            log.warning("a client of the control socket does not read; dropped")
            self._drop(client)
            return
        self._watch(client)

    def _watch(self, client: Client) -> None:
        """Wait for what it still has to say and to hear; one that left and heard all may go."""
        if client.sock.fileno() < 0:
            return
        if client.is_leaving and not client.unread and client not in self._requests.values():
            self._drop(client)
            return
        events = 0 if client.is_leaving else selectors.EVENT_READ
        events |= selectors.EVENT_WRITE if client.unread else 0
        if events and client.events:
            self._selector.modify(client.sock, events)
        elif events:
            self._selector.register(client.sock, events)
        elif client.events:
            self._selector.unregister(client.sock)
        client.events = events

    def _drop(self, client: Client) -> None:
        if client.sock.fileno() >= 0:
            if client.events:
                self._selector.unregister(client.sock)
                client.events = 0
            del self._clients[client.sock.fileno()]
            client.sock.close()
        self._requests = {n: c for n, c in self._requests.items() if c is not client}


def listen(path: Path) -> socket.socket:
    """A Unix stream socket, mode 0660, in place of a dead one.

    Raises:
        UsageError: It cannot be made, or a living process serves it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(str(path))
                except (FileNotFoundError, ConnectionRefusedError):
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise UsageError(
                        f"control.socket: {path}: something is there that does not answer "
                        f"({error.strerror or error}); stop it, or remove the file"
                    ) from error
                else:
                    raise UsageError(f"control.socket: {path} is served by another process")
        old_mask = os.umask(0o117)
        try:
            sock.bind(str(path))
        finally:
            os.umask(old_mask)
        sock.listen(64)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise UsageError(f"control.socket: {path}: {reason}; name a folder it may write") from error
    except UsageError:
        sock.close()
        raise
    return sock


def ask(path: Path, command: Command, timeout_s: float = 10.0) -> tuple[Ok | Error, State | None]:
    """Send one command to a running kiosk and wait for its answer.

    Returns:
        The answer, and the last state that came before it.

    Raises:
        OSError: Nobody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
        sock.sendall(encode(command))
        lines, shown = LineReader(), None
        answers: msgspec.json.Decoder[State | Ok | Error] = msgspec.json.Decoder(State | Ok | Error)
        while data := sock.recv(RECEIVE_BYTES):
            for line in lines.feed(data):
                message = answers.decode(line)
                if not isinstance(message, State):
                    return message, shown
                shown = message
    raise ConnectionError("the kiosk closed the connection without an answer")
