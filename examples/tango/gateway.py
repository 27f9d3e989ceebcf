#!/usr/bin/env python3
"""Offers the jobs of `isard serve` as a Tango device with the commands that macros know.

    gateway.py INSTANCE [Tango options]

The device has the properties `server` (HOST:PORT) and `token`. PyTango is only needed to run it as a
device: `Gateway` is the same without Tango, and what the test uses.
"""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client"))
from isard_client import Client  # noqa: E402


class Gateway:
    """The commands by their names; texts are exactly those of the older server."""

    def __init__(self, server, token=None, push=lambda attribute, value: None):
        self.client, self.lock, self.push = Client(server, token), threading.Lock(), push
        self.seen = {"jobSuccess": -1, "jobFailure": -1, "statisticsCollected": ""}

    def legacy(self, command, argument=None):
        # One connection, many threads of the control system.
        with self.lock:
            return self.client.call("legacy", command, argument)

    def startJob(self, argument):
        return self.legacy("startJob", list(argument))

    def poll(self):
        """Pushes change events for what is new; a Tango device calls it a few times a second."""
        for attribute in ("jobSuccess", "jobFailure"):
            self.changed(attribute, self.legacy(attribute))
        with self.lock:
            text = self.client.call("statisticsCollected")
        self.changed("statisticsCollected", text)

    def changed(self, attribute, value):
        if self.seen[attribute] != value:
            self.seen[attribute] = value
            self.push(attribute, value)

    def set_serialize(self, on):
        return self.legacy("serialize", bool(on))


def command(name):
    def call(self, argument=None):
        return self.legacy(name, argument)

    call.__name__ = name
    return call


for name in ("abort", "getJobState", "getJobOutput", "getJobInput", "getJobError", "waitJob", "listPlugins",
             "initPlugin", "cleanJob", "collectStatistics", "getStatistics", "serialize"):
    setattr(Gateway, name, command(name))


def device(tango, server_module):
    """The class of the Tango device; `tango` and `tango.server` are passed in so that a test can stand in."""
    Device, attribute = server_module.Device, server_module.attribute
    tango_command, prop = server_module.command, server_module.device_property

    class IsardJobs(Device):
        server = prop(dtype=str, default_value="localhost:8421")
        token = prop(dtype=str, default_value="")

        def init_device(self):
            super().init_device()
            self.gateway = Gateway(self.server, self.token or None, self.push_change_event)
            for name in self.gateway.seen:
                self.set_change_event(name, True, False)
            self.set_state(tango.DevState.ON)
            self.stopped = threading.Event()
            threading.Thread(target=self.watch, daemon=True).start()

        def watch(self):
            while not self.stopped.wait(0.1):
                try:
                    self.gateway.poll()
                    self.set_state(tango.DevState.ON)
                except (OSError, RuntimeError):
                    # The server is away: the state says so until it is back.
                    self.set_state(tango.DevState.FAULT)

        def delete_device(self):
            self.stopped.set()

        @attribute(dtype=int)
        def jobSuccess(self):
            return self.gateway.seen["jobSuccess"]

        @attribute(dtype=int)
        def jobFailure(self):
            return self.gateway.seen["jobFailure"]

        @attribute(dtype=str)
        def statisticsCollected(self):
            return self.gateway.seen["statisticsCollected"]

        @attribute(dtype=bool)
        def serialize(self):
            return self.gateway.serialize()

        @serialize.write
        def serialize(self, on):
            self.gateway.set_serialize(on)

        @tango_command(dtype_in=(str,), dtype_out=int)
        def startJob(self, argument):
            return self.gateway.startJob(argument)

    kinds = {"abort": (int, bool), "getJobState": (int, str), "getJobOutput": (int, str),
             "getJobInput": (int, str), "getJobError": (int, str), "waitJob": (int, str), "cleanJob": (int, str),
             "initPlugin": (str, str), "listPlugins": (None, str), "getStatistics": (None, str),
             "collectStatistics": (None, None)}

    def forward(name, takes):
        if takes is None:
            def call(self):
                return getattr(self.gateway, name)()
        else:
            def call(self, argument):
                return getattr(self.gateway, name)(argument)
        call.__name__ = name
        return call

    for name, (takes, gives) in kinds.items():
        setattr(IsardJobs, name, tango_command(dtype_in=takes, dtype_out=gives)(forward(name, takes)))
    # Tango looks at the methods of a class when it is made: make it again with the commands in it.
    return type("IsardJobs", (IsardJobs,), {name: IsardJobs.__dict__[name] for name in kinds})


if __name__ == "__main__":
    import tango
    import tango.server

    device(tango, tango.server).run_server()
