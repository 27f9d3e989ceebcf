"""Uses the gateway on the server named on the command line, with a stub in place of Tango."""
import sys
import time
import types

import gateway


class Device:
    """As much of a Tango device as the gateway touches."""

    def init_device(self):
        self.events, self.state = [], None

    def set_change_event(self, name, implemented, detect):
        assert implemented and not detect, name

    def push_change_event(self, name, value):
        self.events.append((name, value))

    def set_state(self, state):
        self.state = state


class Attribute:
    def __init__(self, read):
        self.read, self.put = read, None

    def write(self, put):
        self.put = put
        return self

    def __get__(self, device, _):
        return self if device is None else self.read(device)

    def __set__(self, device, value):
        self.put(device, value)


commands = {}


def command(dtype_in=None, dtype_out=None):
    def keep(function):
        commands[function.__name__] = (dtype_in, dtype_out)
        return function
    return keep


tango = types.SimpleNamespace(DevState=types.SimpleNamespace(ON="ON", FAULT="FAULT"))
server = types.SimpleNamespace(Device=Device, command=command, attribute=lambda **_: Attribute,
                               device_property=lambda dtype, default_value: default_value)


def until(what, holds):
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


device = gateway.device(tango, server)()
device.server = sys.argv[1]
device.init_device()
# Every command of the older server, with its types.
wanted = {"startJob", "abort", "getJobState", "getJobOutput", "getJobInput", "getJobError", "waitJob", "listPlugins",
          "initPlugin", "cleanJob", "collectStatistics", "getStatistics"}
assert set(commands) == wanted, set(commands) ^ wanted
assert commands["startJob"] == ((str,), int) and commands["abort"] == (int, bool)

assert device.startJob(["example.square", " "]) == -1
job = device.startJob(["example.square", '{"x": 5}'])
until("it succeeds", lambda: device.getJobState(job) == "success")
assert '"result":25' in device.getJobOutput(job)
until("the event comes", lambda: ("jobSuccess", job) in device.events)
assert device.jobSuccess == job
assert device.getJobState(99999) == "Unable to retrieve such job: 99999"
assert device.getJobInput(99999) == "No such job: 99999"
long = device.startJob(["example.sleep", '{"t": 60}'])
assert device.abort(long) is True and device.waitJob(long) == "aborted"
until("the event comes", lambda: ("jobFailure", long) in device.events)
assert device.initPlugin("example.cube").startswith("Plugin loaded: example.cube\n")
assert " example.cube : Gives the cube of a number." in device.listPlugins()
device.serialize = True
assert device.serialize is True
device.serialize = False
device.collectStatistics()
until("statistics come", lambda: "example.square" in device.statisticsCollected)
device.delete_device()
print("gateway: all well")
