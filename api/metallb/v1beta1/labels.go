package v1beta1

// Labels that the components put on the status kinds.
const (
	// LabelComponentType tells who wrote a ConfigurationState: ComponentController or ComponentSpeaker.
	LabelComponentType = "metallb.io/component-type"
	// LabelNodeName is the node of the speaker that wrote a ConfigurationState.
	LabelNodeName = "metallb.io/node-name"
	// LabelNode is the announcing node of a ServiceL2Status or ServiceBGPStatus.
	LabelNode = "metallb.io/node"
	// LabelServiceName is the name of the Service of a ServiceL2Status or ServiceBGPStatus.
	LabelServiceName = "metallb.io/service-name"
	// LabelServiceNamespace is the namespace of the Service of a ServiceL2Status or ServiceBGPStatus.
	LabelServiceNamespace = "metallb.io/service-namespace"
)

// Values of LabelComponentType.
const (
	// ComponentController is the controller's value.
	ComponentController = "controller"
	// ComponentSpeaker is a speaker's value.
	ComponentSpeaker = "speaker"
)
