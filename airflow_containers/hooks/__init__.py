"""Airflow connections to clients. Import from the modules: :mod:`airflow_containers.hooks.container`."""
