"""What clients of the pictures see: throughput, cold renders, storms and overload."""
