"""The dashboard: the web pages on which people see and steer; rendered here, without a build."""
