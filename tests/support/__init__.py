"""What the tests share: a throw-away Airflow, the services they run against, searches for secrets."""
