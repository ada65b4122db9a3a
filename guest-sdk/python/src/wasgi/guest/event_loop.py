"""asyncio without sockets and threads: an event loop that runs ready callbacks, and sleeps until
the next timer with the sandbox's clock.

`install` makes it asyncio's default when asyncio is first imported: `asyncio.run`, `async def`
views of a WSGI framework and the ASGI adapter use it. Functions for other threads are called
synchronously: `run_in_executor`, `asyncio.to_thread`, `ThreadPoolExecutor.submit`, AnyIO's worker
threads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from wasgi.guest import late

#: The maximum sleep, in seconds. Then the loop checks its clock again.
_SLEEP_SECONDS_MAX = 3_600


def install() -> None:
    """Arranges for the modules to be changed when they are imported."""
    late.change(_CHANGES)


def _change_asyncio(unix_events) -> None:
    """Changes `asyncio.unix_events`: the loop that `asyncio.run` and `new_event_loop` create."""
    from asyncio import base_events

    class EventLoop(base_events.BaseEventLoop):
        """An event loop without a selector: there are no external events."""

        def __init__(self, selector=None) -> None:
            super().__init__()
            self._selector = _Sleeper(self)
            #: Called instead of waiting forever. Returns whether there is something to do now.
            self.on_idle: Callable[[], bool] | None = None

        def _process_events(self, events) -> None:
            pass

        def _write_to_self(self) -> None:
            """Does nothing: no other thread exists that could wake the loop."""

        def run_in_executor(self, executor, function, *arguments):
            self._check_closed()
            future = self.create_future()
            outcome = _run_aside(function, *arguments)
            _copy(outcome, future)
            return future

        def call_soon_threadsafe(self, callback, *arguments, context=None):
            return self.call_soon(callback, *arguments, context=context)

        async def shutdown_default_executor(self, timeout=None) -> None:
            self._executor_shutdown_called = True

    EventLoop.__module__ = "asyncio"
    unix_events.SelectorEventLoop = EventLoop
    unix_events._UnixSelectorEventLoop = EventLoop
    unix_events.EventLoop = EventLoop
    for name in ("_Unix", "_", ""):
        name = f"{name}DefaultEventLoopPolicy"
        if policy := getattr(unix_events, name, None):
            policy._loop_factory = EventLoop


class _Sleeper:
    """Replaces a loop's selector."""

    def __init__(self, loop) -> None:
        self._loop = loop

    def select(self, timeout):
        if timeout is None:
            idle = self._loop.on_idle
            if idle is None or not idle():
                raise RuntimeError(
                    "the event loop waits for an event that can't occur: a handler has no "
                    "sockets, threads or signals"
                )
        elif timeout > 0:
            time.sleep(min(timeout, _SLEEP_SECONDS_MAX))
        return ()

    def close(self) -> None:
        pass

    def get_map(self) -> dict:
        return {}


def _change_threads(thread) -> None:
    """Changes `concurrent.futures.thread`: submitted functions are called at once."""

    def submit(self, function, /, *arguments, **keywords):
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        return _run_aside(function, *arguments, **keywords)

    thread.ThreadPoolExecutor.submit = submit


def _change_anyio(backend) -> None:
    """Changes `anyio._backends._asyncio`: functions for worker threads are called at once."""

    async def run_sync_in_worker_thread(cls, function, arguments, *_, **__):
        await backend.AsyncIOBackend.checkpoint()
        return _run_aside(function, *arguments).result()

    backend.AsyncIOBackend.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)


_CHANGES = {
    "asyncio.unix_events": _change_asyncio,
    "concurrent.futures.thread": _change_threads,
    "anyio._backends._asyncio": _change_anyio,
}


def _run_aside(function, /, *arguments, **keywords):
    """Calls a function as if in another thread, without a running loop and task. Returns a
    completed future."""
    from concurrent.futures import Future

    events = sys.modules.get("asyncio.events")
    running = events._get_running_loop() if events else None
    swap = getattr(sys.modules.get("asyncio.tasks"), "_swap_current_task", None)
    future = Future()
    future.set_running_or_notify_cancel()
    if running is not None:
        # Since Python 3.14, a thread has one current task, not one for each loop.
        task = swap(running, None) if swap else None
        events._set_running_loop(None)
    try:
        future.set_result(function(*arguments, **keywords))
    except BaseException as error:
        future.set_exception(error)
    finally:
        if running is not None:
            events._set_running_loop(running)
            if task is not None:
                swap(running, task)
    return future


def _copy(outcome, future) -> None:
    """Copies the outcome of a completed future to a loop's future."""
    error = outcome.exception()
    if error is None:
        future.set_result(outcome.result())
    elif isinstance(error, StopIteration):
        # asyncio doesn't permit this exception in a future.
        future.set_exception(RuntimeError(f"a function in an executor raised {error!r}"))
    else:
        future.set_exception(error)
