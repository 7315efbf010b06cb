"""The neighbours of the filter, to try it with: private, on the loopback interface, gone afterwards."""
