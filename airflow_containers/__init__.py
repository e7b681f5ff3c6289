"""Airflow provider for hosted sandbox containers that speak the OpenAI Containers API."""

__version__ = "0.1.0"
