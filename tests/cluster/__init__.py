"""Does a real cluster do with the package what the fake master of the other tests says? (`make cluster-test`)

The cluster is the one that `DET_MASTER` names; the login is Determined's own (`det user login`, or `DET_USER` and
`DET_PASS`). Without `DET_MASTER` everything here is skipped, and a plain `make test` leaves it out. Experiments of a few
seconds each are made in the project that is the user's default, with a wheel of this checkout in their context; they are
killed where a test has failed or been stopped. An idle cluster with two CPU slots needs about fifteen minutes.

What the experiments need on this cluster is said by environment variables:

CLUSTER_TEST_CONFIG
    An experiment YAML that is merged into each experiment: `environment` (image, variables), `bind_mounts`, `resources`
    (`resource_pool`), `checkpoint_storage`. Mappings are merged, lists are put together, single values replace.
CLUSTER_TEST_IMAGE
    `environment.image` alone, for all kinds of slots. The image needs Python, torch and determined; Lightning and
    torchmetrics are installed by pip where they are missing.
CLUSTER_TEST_TWO_AGENTS
    A YAML that is merged on top where a trial is to run on two agents: a `resources.resource_pool` whose agents have one
    slot each. Without it that test is skipped.
CLUSTER_TEST_KILL_MASTER, CLUSTER_TEST_START_MASTER, CLUSTER_TEST_KILL_AGENT, CLUSTER_TEST_START_AGENT
    Shell commands, for who may do that. Without them the master's and the agent's death are tested from inside the
    container only (`context/behind_faults.py`, a proxy between the trial and the master), which needs no rights.

A variable that names a file or a command for nothing else than this is all that a new cluster needs::

    DET_MASTER=https://cluster:8080 CLUSTER_TEST_IMAGE=our/image:1 make cluster-test
    make cluster-test PYTEST_ARGS="-k outage"
"""
