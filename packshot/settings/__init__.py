"""Settings from the environment, the data folder, the admin token, and the memory of the machine."""
