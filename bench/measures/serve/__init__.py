"""What clients of images see: throughput, cold renders, storms and overload."""
