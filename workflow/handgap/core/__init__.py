"""Ground floor: conventions, configuration, the sample store, seeds, geometry, errors, provenance."""
