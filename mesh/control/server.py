"""The control socket of a node: clients in, commands to the pump, answers and events out."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import trio

from mesh.control.access import Access, access_needed, access_of, peer_credentials
from mesh.control.connection import Bundle, Connection, Place
from mesh.control.framing import (
    PAYLOAD_LINE_BYTES_MAX,
    BadRequest,
    LineSplitter,
    error_line,
    event_line,
    parse_request,
    split_bundle,
    too_large,
)
from mesh.control.messages import Watch, decode_command, line_bytes_max
from mesh.control.socket_file import SocketFile
from mesh.core.effects import ClientId, Json
from mesh.core.errors import LocalError
from mesh.core.inputs import ClientGone, CommandReceived

CLIENTS_MAX = 32
QUEUE_MAX = 256
UNDER_WAY_MAX = 256
LAGGED_GRACE_S = 2.0
ACCEPT_PAUSE_S = 0.1

Put = Callable[[CommandReceived | ClientGone], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Where the socket is, who may use it, and its bounds."""

    path: str
    group: int | None = None
    """Members of this group may operate the node."""
    clients_max: int = CLIENTS_MAX
    queue_max: int = QUEUE_MAX
    """Lines that wait for one slow client."""
    under_way_max: int = UNDER_WAY_MAX
    """Unanswered requests of one client."""
    lagged_grace_s: float = LAGGED_GRACE_S
    """How long a client that was too slow may take to read that it was."""


class ControlServer:
    """Serves the control socket, and answers for the node."""

    def __init__(self, settings: ControlSettings, put: Put) -> None:
        self.settings = settings
        self._put = put
        self._clients: dict[ClientId, Connection] = {}
        self._last_id = 0

    # --- from the node

    def reply(self, client: ClientId, request: int, result: Json) -> None:
        """Answer a request; the client may be gone."""
        if client in self._clients:
            self._clients[client].reply(request, result)

    def refuse(self, client: ClientId, request: int, error: LocalError) -> None:
        """Refuse a request; the client may be gone."""
        if client in self._clients:
            self._clients[client].refuse(request, error)

    def notify(self, topic: str, body: Mapping[str, Json], client: ClientId | None = None) -> None:
        """Tell one client, or all that watch the topic."""
        if client is not None:
            told = [self._clients[client]] if client in self._clients else []
        else:
            told = [each for each in self._clients.values() if each.is_watching(topic)]
        if told:
            line = event_line(topic, body)
            for connection in told:
                connection.send(line)

    # --- serving

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; raises LocalError when the socket cannot be opened."""
        file = SocketFile(self.settings.path, self.settings.group)
        listener = file.open()
        try:
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    sock = await _accept(listener)
                    if sock is not None:
                        self._admit(nursery, sock)
        finally:
            file.close()  # first: an open socket keeps its file's number from being used again
            listener.close()

    def _admit(self, nursery: trio.Nursery, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            credentials = peer_credentials(sock)
        except OSError:
            sock.close()
            return
        if len(self._clients) >= self.settings.clients_max:
            _turn_away(sock, self.settings.clients_max)
            return
        self._last_id += 1
        access = access_of(credentials, self.settings.group)
        id_ = ClientId(self._last_id)
        connection = Connection(id_, sock, credentials, access, self.settings.queue_max)
        self._clients[id_] = connection
        nursery.start_soon(self._attend, connection)

    async def _attend(self, connection: Connection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.write)
                with connection.reading:
                    await self._read(connection)
                    await connection.wait_answered()
                if connection.has_lagged:
                    await connection.drained(self.settings.lagged_grace_s)
                nursery.cancel_scope.cancel()
        finally:
            del self._clients[connection.id]
            connection.close()
        await self._put(ClientGone(connection.id))

    async def _read(self, connection: Connection) -> None:
        splitter = LineSplitter()
        while data := await connection.receive():
            for line in splitter.receive(data):
                for command in self._commands_of(connection, line):
                    await self._put(command)

    def _commands_of(self, connection: Connection, line: bytes | None) -> list[CommandReceived]:
        """Return what a line asks of the node: one thing, or what is in a bundle."""
        try:
            requests = None if line is None else split_bundle(line)
        except BadRequest as bad:
            connection.send(error_line(None, bad))
            return []
        if requests is None:
            commands = [self._command_of(connection, line, None)]
        else:
            bundle = Bundle(len(requests))
            commands = [
                self._command_of(connection, request, Place(bundle, index))
                for index, request in enumerate(requests)
            ]
        return [command for command in commands if command is not None]

    def _command_of(
        self, connection: Connection, line: bytes | None, place: Place | None
    ) -> CommandReceived | None:
        """Return what a request asks of the node; everything else is answered here."""
        try:
            if line is None:
                raise too_large(PAYLOAD_LINE_BYTES_MAX)
            request = parse_request(line)
        except BadRequest as bad:
            connection.answer(error_line(bad.id, bad), place)
            return None
        try:
            self._check(connection, request.method, len(line))
            command = decode_command(request.method, request.params)
        except LocalError as bad:
            connection.answer(error_line(request.id, bad), place)
            return None
        number = connection.expect(request.id, place)
        if isinstance(command, Watch):
            connection.topics = command.topics
            connection.reply(number, {"topics": list(command.topics)})
            return None
        return CommandReceived(connection.id, number, command, connection.credentials.uid)

    def _check(self, connection: Connection, method: str, line_bytes: int) -> None:
        if line_bytes > line_bytes_max(method):
            raise too_large(line_bytes_max(method))
        if len(connection.pending) >= self.settings.under_way_max:
            raise LocalError(
                "busy",
                f"{self.settings.under_way_max} requests of this client are under way",
                "wait for some of them to be answered, then try again",
            )
        if connection.access < access_needed(method):
            is_operator = connection.access is Access.OPERATE
            allowed = "use this node, but not rule it" if is_operator else "look only"
            hint = "run it as the user of the node or as root"
            raise LocalError(
                "permission",
                f"{method}: user {connection.credentials.uid} may {allowed}",
                hint if is_operator else f"{hint}, or be in the group of its `mesh up --group`",
            )


async def _accept(listener: socket.socket) -> socket.socket | None:
    await trio.lowlevel.wait_readable(listener)
    try:
        return listener.accept()[0]
    except (BlockingIOError, InterruptedError, ConnectionAbortedError):
        return None
    except OSError:
        # No file descriptors left: those that are connected go on, and one of them may leave.
        await trio.sleep(ACCEPT_PAUSE_S)
        return None


def _turn_away(sock: socket.socket, clients_max: int) -> None:
    error = LocalError(
        "too_many_clients",
        f"{clients_max} clients are connected",
        "close some of them; one connection carries many requests",
    )
    try:
        sock.send(error_line(None, error), socket.MSG_NOSIGNAL)
    except OSError:
        pass
    finally:
        sock.close()
