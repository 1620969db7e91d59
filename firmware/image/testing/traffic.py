"""Messages at an even pace, counted as they are answered."""

import threading
import time

from . import clients


class Traffic:
    """Sends lines over one connection from a thread of its own until it is stopped or the peer is gone. What a stalled
    host delays is sent later, and never faster: counts are as good as time."""

    def __init__(self, port, per_second):
        self._port, self._pause_s = port, 1 / per_second
        self._stop = threading.Event()
        self.answered = 0
        self.error = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            with clients.connect(self._port) as connection:
                while not self._stop.is_set():
                    connection.sendall(b"tick\n")
                    if clients.read_line(connection):
                        self.answered += 1
                    time.sleep(self._pause_s)
        except OSError as error:
            self.error = error

    def stop(self):
        self._stop.set()
        self._thread.join(clients.TIMEOUT_S + 5)
