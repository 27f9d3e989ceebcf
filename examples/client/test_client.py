"""Uses the client on the server named on the command line: `test_client.py HOST:PORT [TOKEN]`."""
import sys

from isard_client import Client

client = Client(*sys.argv[1:])
assert client.run("example.square", x=5)["result"] == 25
job = client.start("example.sleep", t=60)
assert client.call("abort", job) is True
assert client.wait(job) == "aborted"
assert client.call("getJobInput", id=-1)["plugin_name"] == "example.sleep"
for wrong, why in [(lambda: client.run("example.square", x="five"), "wanted a number"),
                   (lambda: client.call("getJobState", 1000), "no job 1000")]:
    try:
        wrong()
    except RuntimeError as error:
        assert why in str(error), error
    else:
        raise AssertionError(why)
print("client: all well")
