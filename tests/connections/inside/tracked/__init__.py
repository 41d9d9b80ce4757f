"""Settings with an error tracker."""
