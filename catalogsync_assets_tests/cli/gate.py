"""Holds what a command asks of a store, for a test to look at the moment."""

from __future__ import annotations


class Gate:
    """Lets so many requests pass and holds the others, until it is opened.

    Args:
        method: only requests of this one; `what`: only where their path has it.
    """

    def __init__(self, proxy, method, passing=0, what=""):
        self._proxy, self._method, self._passing, self._what = proxy, method, passing, what
        self.held = 0
        self._open = False
        proxy.before.append(self._rule)

    def _rule(self, request):
        if request.method != self._method or self._what not in request.path:
            return
        with self._proxy.lock:
            if self._passing:
                self._passing -= 1
                return
            self.held += 1
            self._proxy.lock.notify_all()
        self._proxy.wait_until(lambda: self._open)

    def wait_until_held(self, count=1):
        self._proxy.wait_until(lambda: self.held >= count)

    def open(self):
        with self._proxy.lock:
            self._open = True
            self._proxy.lock.notify_all()
