"""A Ray cluster of two nodes on 127.0.0.1: prints its address, and ends with its standard input."""

from __future__ import annotations

import sys

from ray._private import services
from ray.cluster_utils import Cluster

# Ray would take the address of the network card for that of this machine.
services.resolve_ip_for_localhost = lambda host: host

NODE = {"node_ip_address": "127.0.0.1", "num_cpus": 1}

cluster = Cluster(initialize_head=True, connect=False,
                  head_node_args={**NODE, "include_dashboard": False})  # fmt: skip
cluster.add_node(**NODE)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
