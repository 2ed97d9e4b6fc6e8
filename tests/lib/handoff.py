"""The handoff socket at the level of bytes: a relay that records the messages of plugin and agent, a replay of one side of
such a record, and enough of protobuf's wire format to compare two messages.

A record is a list of conversations, one for each connection: [["plugin", HEX], ["agent", HEX], ...]."""

import os
import socket
import threading

MAX = 65536


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """[(number, value)] of a message: integers, or bytes for text and messages. attach.proto has no other kinds."""
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        found.append((key >> 3, value))
    return found


def kind(data):
    """Number of the oneof's member of a Request or Reply; 15 is `protocol`."""
    return next(number for number, _ in fields(data) if number != 15)


def body(data):
    """Fields of that member."""
    return fields(next(value for number, value in fields(data) if number != 15))


def connect(path):
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end.settimeout(20)
    end.connect(path)
    return end


class Listener:
    """Serves each connection at `path` with serve(connection), on a thread of its own."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind(path)
        self._socket.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        raise NotImplementedError

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        os.remove(self.path)


class Recorder(Listener):
    """Between a plugin and the agent at `agent`."""

    def __init__(self, path, agent):
        self._agent = agent
        self.talks = []
        super().__init__(path)

    def take(self):
        """The messages since the last call."""
        talks, self.talks = self.talks, []
        return talks

    def serve(self, connection):
        talk = []
        with connection, connect(self._agent) as agent:
            while True:
                message, fds, _, _ = socket.recv_fds(connection, MAX, 4)
                if not message:
                    return
                if not talk:
                    self.talks.append(talk)
                talk.append(["plugin", message.hex()])
                socket.send_fds(agent, [message], fds)
                for fd in fds:
                    os.close(fd)
                answer = agent.recv(MAX)
                talk.append(["agent", answer.hex()])
                connection.send(answer)


class RecordedAgent(Listener):
    """Answers each kind of request as the agent of the record did."""

    def __init__(self, path, talks):
        self._answers = {}
        for talk in talks:
            for (_, asked), (_, answered) in zip(talk[::2], talk[1::2]):
                self._answers[kind(bytes.fromhex(asked))] = bytes.fromhex(answered)
        self.asked = []
        super().__init__(path)

    def serve(self, connection):
        with connection:
            while True:
                message, fds, _, _ = socket.recv_fds(connection, MAX, 4)
                for fd in fds:
                    os.close(fd)
                if not message:
                    return
                self.asked.append(kind(message))
                connection.send(self._answers[kind(message)])
