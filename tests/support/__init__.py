"""What the tests share: a throw-away Airflow, the services they run against, and searches for what must not be found."""
