"""M-Bus (EN 13757): one decoder of data records for wired and wireless meters, and the wired link."""
