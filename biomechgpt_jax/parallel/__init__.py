"""The device mesh, the table of sharding rules, runs of several processes, and feeding the devices."""
