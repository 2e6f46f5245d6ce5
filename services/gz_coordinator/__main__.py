if __name__ == "__main__":
    # Here, because the process that checks large documents imports this module too, and needs no coordinator.
    from gz_coordinator.main import run

    run()
