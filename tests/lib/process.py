"""Running programs: to their end (run), in the background (Process), and waiting for conditions (wait_for)."""

import os
import signal
import subprocess
import time


class Timeout(AssertionError):
    pass


def wait_for(condition, timeout, what):
    """Calls condition() until its result is true, and returns that. The error of a timeout names `what`."""
    deadline = time.monotonic() + timeout
    pause = 0.01
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Timeout(f"after {timeout} s still not so: {what}; last seen: {value!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


def open_files(pid):
    """The open descriptors of a process: their targets; sockets and similar are counted by kind."""
    folder = f"/proc/{pid}/fd"
    kinds = []
    for fd in os.listdir(folder):
        try:
            kinds.append(os.readlink(os.path.join(folder, fd)).split(":[")[0])
        except FileNotFoundError:  # closed in between
            pass
    return sorted(kinds)


def memory(pid):
    """The private memory of a process in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("RssAnon:")).split()[1])


def steady(look, timeout=30, seconds=1):
    """The result of `look` once it has been constant for some seconds."""
    value, since = look(), time.monotonic()

    def same():
        nonlocal value, since
        now = look()
        if now != value:
            value, since = now, time.monotonic()
        return time.monotonic() - since >= seconds
    wait_for(same, timeout, "what is looked at stays the same")
    return value


def run(argv, timeout=30, check=True, **kwargs):
    """Runs argv to its end. With `check`, a failure raises an exception with all output of the program."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"exit {done.returncode}: {' '.join(map(str, argv))}\n{done.stdout}{done.stderr}")
    return done


class Process:
    """A program in the background, in a session of its own; its output is appended to the file `log`."""

    def __init__(self, argv, log, **kwargs):
        self.argv = [str(a) for a in argv]
        self.log = log
        with open(log, "ab") as out:
            self._before = out.tell()  # output of earlier programs there
            self._popen = subprocess.Popen(
                self.argv, stdin=kwargs.pop("stdin", subprocess.DEVNULL), stdout=kwargs.pop("stdout", out),
                stderr=out, start_new_session=True, **kwargs)
        self.pid = self._popen.pid

    @property
    def alive(self):
        return self._popen.poll() is None

    @property
    def returncode(self):
        return self._popen.poll()

    def output(self):
        with open(self.log, "rb") as f:
            f.seek(self._before)
            return f.read().decode(errors="replace")

    def says(self, text, timeout=10):
        """Waits until `text` is in the log."""
        def said():
            if text in self.output():
                return True
            assert self.alive, f"ended before it said {text!r}: {self.argv}\n{self.output()}"
            return False
        wait_for(said, timeout, f"{text!r} from {self.argv}")
        return self

    def wait(self, timeout=30):
        return self._popen.wait(timeout)

    def stop(self, sig=signal.SIGTERM, timeout=10):
        """Sends `sig` to the program and waits for its end; then sends SIGKILL to its whole session."""
        if self.alive:
            self._popen.send_signal(sig)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"ignored signal {sig} for {timeout} s: {self.argv}") from None
        self.kill()
        return self._popen.returncode

    def kill(self):
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._popen.wait(10)
