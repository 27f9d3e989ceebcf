"""A client of `isard serve`, in the standard library alone.

    from isard_client import Client
    output = Client("localhost:8421").run("example.square", x=5)
"""
import http.client
import json


class Client:
    def __init__(self, server="localhost:8421", token=None):
        self.http = http.client.HTTPConnection(server, timeout=60)
        self.headers = {"Authorization": "Bearer " + token} if token else {}

    def call(self, method, *params, **named):
        """Any method of the server, by position or by name."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": named or params})
        self.http.request("POST", "/rpc", body, self.headers)
        answer = json.loads(self.http.getresponse().read())
        self.http.close()
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]

    def start(self, plugin, **inputs):
        return self.call("startJob", plugin, inputs)

    def wait(self, job):
        while (state := self.call("waitJob", job, 30)) in ("uninitialized", "starting", "running"):
            pass
        return state

    def run(self, plugin, **inputs):
        """Starts a job, waits for it, and returns its output."""
        job = self.start(plugin, **inputs)
        if self.wait(job) != "success":
            raise RuntimeError(self.call("getJobError", job))
        return self.call("getJobOutput", job)
