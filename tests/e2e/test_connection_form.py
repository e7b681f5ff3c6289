"""The connection form in a browser: what a user sees, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from airflow_containers.provider_info import CONN_FIELDS, DISPLAY_NAME, RELABELING
from tests.support.browser import chromium
from tests.support.isolation import REPOSITORY
from tests.support.standalone import Standalone, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.airflow("3.3")]

SCREENSHOT = REPOSITORY / "build" / "connection-form.png"
PATIENCE = 60


def _button(browser: WebDriver, text: str) -> WebElement:
    return WebDriverWait(browser, PATIENCE).until(
        lambda driver: next(
            (each for each in driver.find_elements(By.TAG_NAME, "button") if each.text == text), None
        )
    )


def _dialog(browser: WebDriver) -> WebElement:
    return WebDriverWait(browser, PATIENCE).until(
        lambda driver: driver.find_element(By.CSS_SELECTOR, "[role=dialog]")
    )


def _shows(browser: WebDriver, text: str) -> None:
    WebDriverWait(browser, PATIENCE, ignored_exceptions=[Exception]).until(
        lambda driver: text in driver.find_element(By.CSS_SELECTOR, "[role=dialog]").text
    )


def test_form_shows_every_field_and_saves(standalone: Standalone, tmp_path: Path) -> None:
    """Our type can be chosen, each field has its label, no foreign one shows, and what is typed is saved."""
    with chromium(tmp_path / "profile") as browser:
        browser.get(f"{standalone.url}/connections")
        _button(browser, "Add Connection").click()
        _shows(browser, "Connection Type")
        _dialog(browser).find_element(By.NAME, "connection_id").send_keys("from_the_form")
        chooser = _dialog(browser).find_element(By.CSS_SELECTOR, "input[role=combobox]")
        chooser.send_keys(DISPLAY_NAME)
        chooser.send_keys(Keys.ENTER)
        _shows(browser, RELABELING["host"])
        _dialog(browser).find_element(By.NAME, "host").send_keys("https://api.example.com/v1")
        _dialog(browser).find_element(By.NAME, "password").send_keys("sk-typed-into-the-form")
        standard = _dialog(browser).text.splitlines()
        _button(browser, "Extra Fields").click()
        _shows(browser, CONN_FIELDS["organization"]["label"])
        shown = _dialog(browser).text.splitlines()
        browser.find_element(By.NAME, "element_organization").send_keys("org-1")
        SCREENSHOT.parent.mkdir(exist_ok=True)
        browser.save_screenshot(str(SCREENSHOT))
        _button(browser, "Save").click()
        saved = wait_for(
            "the connection to be saved",
            lambda: next(
                (
                    each
                    for each in standalone.get("/connections")["connections"]
                    if each["connection_id"] == "from_the_form"
                ),
                None,
            ),
            PATIENCE,
        )

    assert {DISPLAY_NAME, *RELABELING.values()} <= set(standard)
    assert not {"Login", "Port", "Schema"} & set(standard)
    assert {field["label"] for field in CONN_FIELDS.values()} <= set(shown)
    assert ("openai_containers", "https://api.example.com/v1") == (saved["conn_type"], saved["host"])
    assert {"organization": "org-1"} == {
        name: value for name, value in json.loads(saved["extra"]).items() if value is not None
    }
