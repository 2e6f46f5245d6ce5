from gz_provider_validation.main import run

run()
