"use strict";

// A dependency injection container: bind a token to a class, a factory or a value, then resolve it.
class BindingBuilder {
  constructor(container, token) {
    this.binding = { token, kind: null, target: null, dependencies: [], singleton: false, instance: null, decorators: [] };
    container.bindings.set(token, this.binding);
  }

  toClass(target, dependencies = []) {
    this.binding.kind = "class";
    this.binding.target = target;
    this.binding.dependencies = dependencies;
    return this;
  }

  toFactory(target, dependencies = []) {
    this.binding.kind = "factory";
    this.binding.target = target;
    this.binding.dependencies = dependencies;
    return this;
  }

  toValue(target) {
    this.binding.kind = "value";
    this.binding.target = target;
    return this;
  }

  decoratedWith(decorator, dependencies = []) {
    this.binding.decorators.push({ decorator, dependencies });
    return this;
  }

  inSingletonScope() {
    this.binding.singleton = true;
    return this;
  }

  inTransientScope() {
    this.binding.singleton = false;
    return this;
  }
}

class Container {
  constructor(parent = null) {
    this.parent = parent;
    this.bindings = new Map();
    this.resolving = new Set();
  }

  bind(token) {
    return new BindingBuilder(this, token);
  }

  has(token) {
    return this.bindings.has(token) || (this.parent !== null && this.parent.has(token));
  }

  resolve(token) {
    const binding = this.bindings.get(token);
    if (binding === undefined) {
      if (this.parent !== null) return this.parent.resolve(token);
      throw new Error("no binding for " + String(token));
    }
    if (binding.singleton && binding.instance !== null) return binding.instance;
    if (this.resolving.has(token)) throw new Error("circular dependency on " + String(token));
    this.resolving.add(token);
    try {
      let instance = this.instantiate(binding);
      for (const { decorator, dependencies } of binding.decorators) {
        instance = new decorator(instance, ...dependencies.map((dependency) => this.resolve(dependency)));
      }
      if (binding.singleton) binding.instance = instance;
      return instance;
    } finally {
      this.resolving.delete(token);
    }
  }

  instantiate(binding) {
    if (binding.kind === "value") return binding.target;
    const dependencies = binding.dependencies.map((dependency) => this.resolve(dependency));
    if (binding.kind === "factory") return binding.target(...dependencies);
    return new binding.target(...dependencies);
  }

  createChild() {
    return new Container(this);
  }
}

module.exports = { Container };
