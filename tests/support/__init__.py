"""What the rooms share: repositories, a running service, a log that is filled, containers and engines."""
