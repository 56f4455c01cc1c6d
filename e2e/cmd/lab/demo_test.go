//go:build e2e

package main

import "testing"

// TestDemo: make demo shows what README promises.
func TestDemo(t *testing.T) {
	told(t, (*demo).run,
		`== A cluster`, `Up after \d+\.\d s\.`,
		`== Fairlead`, `Ready after`,
		`huazi +LoadBalancer +\S+ +<pending> +8080:`,
		`first-pool created`, `huazi +LoadBalancer +\S+ +172\.25\.254\.50 +8080:`, `the address was|The address was there`, `172\.25\.254\.50`,
		`outside\$ curl`, `huazi-\d 172\.25\.254\.`, `172\.25\.254\.50 .*lladdr`, `is the MAC address of node-\d: that node announces`,
		`== The announcing node dies`, `the link of node-\d is cut`, `node-\d has taken over`,
	)
}
