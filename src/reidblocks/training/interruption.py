"""Signals that ask a run to stop, handled between two steps."""

import signal
from types import FrameType
from typing import Any


class StopRequest:
    """Record SIGTERM and Ctrl-C in ``signal`` within ``with``, instead of stopping.

    The run looks at ``signal`` between two steps. A second signal has its usual effect at once.

    >>> with StopRequest() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.signal.name
    'SIGTERM'
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @staticmethod
    def outlive(worker: int) -> None:
        """Let a loader's process live on for 20 s after SIGTERM: its ``worker_init_fn``.

        A batch system signals all processes of a run at once, and the run needs its workers until
        it has saved. It ends them itself; the 20 s are for a run that failed meanwhile.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, "SIGALRM"):  # not on Windows, which sends no SIGTERM either
            signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(20))

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.getsignal(number) for number in self.SIGNALS}
        for number in self.SIGNALS:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
