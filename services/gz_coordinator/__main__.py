from gz_coordinator.main import run

if __name__ == "__main__":  # the process that checks large documents imports this module too
    run()
