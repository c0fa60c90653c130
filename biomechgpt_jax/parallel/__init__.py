"""The device mesh, the one table of sharding rules, several processes as one run, and feeding devices."""
