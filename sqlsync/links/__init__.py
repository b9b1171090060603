"""How clients reach a coordinator."""
