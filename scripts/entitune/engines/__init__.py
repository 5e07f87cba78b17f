"""Settings, devices and memory of the two engines."""
