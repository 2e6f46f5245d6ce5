from gz_provider_echo.main import run

run()
