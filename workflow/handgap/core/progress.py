"""Progress of long steps: a bar on a terminal, one line a minute in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
LOG_INTERVAL_S = 60.0


def track(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield `items`, showing done / total, rate and time left."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn()) as progress:
            yield from progress.track(items, total=total, description=label)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_INTERVAL_S or done == total:
            rate = done / max(now - start, 1e-9)
            left = (total - done) / rate
            print(f"{label}: {done}/{total}  {rate:.2f}/s  {left:.0f} s left", file=sys.stderr, flush=True)
            last = now
