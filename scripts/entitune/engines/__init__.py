"""Settings, devices and memory of the engines."""
